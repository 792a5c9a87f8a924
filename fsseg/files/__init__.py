"""Files of images and masks, whatever data set they belong to."""
