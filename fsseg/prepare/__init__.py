"""Makes the folders of PASCAL-5i and COCO-20i from the official archives: download, extraction, masks, lists."""
