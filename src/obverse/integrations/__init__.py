"""Obverse within other libraries. A library is imported when it is used; a missing one is named.

encoders.py        frozen encoders: a Python function, TorchScript, ONNX, Hugging Face vision models
frozen_encoder.py  what all of them become: images to features, and a fingerprint of the weights
hugging_face.py    vision models of a folder on disk, and class names as text embeddings
classifiers.py     models that give class scores
image_input.py     what an encoder is given: images resized, cropped, normalised
torch_dataset.py   a file of features for torch.utils.data
"""
