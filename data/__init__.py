"""What is on disk: the face store, views over it, model files and shipped assets."""
