"""Photos, label PNGs and VOC trees."""
