"""Images: files, named sets, patches and tasks."""
