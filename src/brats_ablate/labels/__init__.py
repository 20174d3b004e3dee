"""Label schemes: what the integers of a segmentation mean. The only package that defines values, tissues and regions.

A scheme is data (`conf/labels/*.yaml`). Inside the package a segmentation is a *label map*: one integer per voxel, 0
for background and 1, 2, … for the tissues of the scheme, in its order. Regions are sets of tissues; the network has one
output for each. In the three overlapping regions of BraTS (paper section 2.4) they are thresholds of that one integer:

    WT = label >= 1 (ED, NCR, ET)      TC = label >= 2 (NCR, ET)      ET = label >= 3
"""
