"""The classifier that Darkroom ships: its files, and no code.

``model.onnx`` is the network, ``labels.txt`` names its outputs in their order, ``model.json`` says
how a photo becomes its input, and ``MODEL_CARD.md`` what it was made from and how well it does.
"""
