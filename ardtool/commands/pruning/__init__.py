"""The steps of `prune`: choose what stays, measure, make the smaller model, prove it, write and check the files."""
