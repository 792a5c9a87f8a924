"""Makes the folders of PASCAL-5i, COCO-20i and ISIC 2018 from the official archives: download, extraction, masks."""
