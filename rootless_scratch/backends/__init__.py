"""From a Plan to an Image in storage, and back from storage to what an image holds."""
