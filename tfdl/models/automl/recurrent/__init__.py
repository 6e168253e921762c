"""Recurrent cells that were searched for, and language models made of them."""
