"""What several tests share: photos, nets, servers, batches, damaged files."""
