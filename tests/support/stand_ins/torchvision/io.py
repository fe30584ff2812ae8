"""Names as torchvision has them; no image or video is read with it."""
