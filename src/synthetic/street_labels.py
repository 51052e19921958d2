"""The label ids of Cityscapes, as published in cityscapesscripts/helpers/labels.py."""

from enum import IntEnum


class Label(IntEnum):
    """Labels of the embedded streets, with their ids in Cityscapes; ids below 7 are not evaluated."""

    EGO_VEHICLE = 1
    OUT_OF_ROI = 3
    STATIC = 4
    ROAD = 7
    SIDEWALK = 8
    BUILDING = 11
    WALL = 12
    FENCE = 13
    POLE = 17
    TRAFFIC_LIGHT = 19
    TRAFFIC_SIGN = 20
    VEGETATION = 21
    TERRAIN = 22
    SKY = 23
    PERSON = 24
    RIDER = 25
    CAR = 26
    TRUCK = 27
    BUS = 28
    MOTORCYCLE = 32
    BICYCLE = 33
