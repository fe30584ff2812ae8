"""Names as torchvision has them."""
