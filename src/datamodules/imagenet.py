"""Mean and deviation of image / 255 over ImageNet, with which pretrained nets for photographs were trained.

The numbers are those that torchvision states for all of its nets.
"""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
GREY_MEAN = (0.459,)  # of the luma (ITU-R 601-2) of MEAN
GREY_STD = (0.226,)
