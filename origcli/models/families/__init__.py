"""Model families: what differs between pipelines, one small file each, behind one contract."""
