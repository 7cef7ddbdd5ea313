"""What an item looks like and is called, as numbers: text and image encoders, `-> (n_items, dim)` float32.

Every encoder is a function in a module of its kind (`text`, `image`). A row of zeros means that the item has
no such content. Encoders that fit something are fitted on the whole catalogue: a shop knows the texts and
pictures of its items before it sells them, and no choice of any user enters.
"""
