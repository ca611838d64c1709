"""What ``hepgan init`` finds in a file, and the recipe that it drafts."""
