"""The segmentation baseline: a U-Net trained on masks, to see what maps of classifiers cost in accuracy."""
