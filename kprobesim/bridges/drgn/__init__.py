"""A ``drgn.Program`` that looks at a guest of ours (extra ``[drgn]``)."""
