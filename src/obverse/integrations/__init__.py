"""Obverse within other libraries. A library is imported when it is used; a missing one is named.

encoders.py        frozen encoders: a Python function, TorchScript, ONNX, Hugging Face vision models
image_input.py     what an encoder is given: images resized, cropped, normalised
feature_view.py    a file of features as if it were a NumPy array
torch_dataset.py   the same for torch.utils.data
"""
