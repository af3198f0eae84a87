"""How alike two images are: distances behind one protocol, and the tests of editability."""
