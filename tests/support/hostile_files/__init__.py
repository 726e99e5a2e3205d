"""What bit flips and forgers make of the files that ardtool reads, and what reading them did."""
