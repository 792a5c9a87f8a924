"""What several methods share: functions on tensors."""
