"""How alike two pictures are: distances behind one protocol, and the tests of editability."""
