"""Jobs: work that outlives the request, on Django's tasks."""
