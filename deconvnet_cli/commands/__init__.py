"""One module a command; each has ``command``, and imports torch and cv2 only when it runs."""
