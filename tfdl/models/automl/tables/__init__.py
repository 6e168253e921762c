"""Tables of many architectures' scores, to compare proposers in seconds."""
