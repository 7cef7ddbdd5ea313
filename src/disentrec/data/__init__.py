"""Sources, the on-disk dataset folder, and the cases models are trained and tested on."""
