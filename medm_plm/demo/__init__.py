"""The demonstration page: a note, picked codes, and what fine-tuned models say of them."""
