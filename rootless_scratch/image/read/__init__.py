"""The bounded reader of layouts, archives and layers that anybody may have made."""
