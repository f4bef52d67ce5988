"""Where bundles come from: folders in object stores and on web servers, a local cache of them, and signatures."""
