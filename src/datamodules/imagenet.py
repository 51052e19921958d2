"""Mean and standard deviation of image / 255 over ImageNet, as used by networks pretrained on photographs.

The numbers are those that torchvision documents for all its networks.
"""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
GREY_MEAN = (0.459,)  # luma (ITU-R 601-2) of MEAN
GREY_STD = (0.226,)
