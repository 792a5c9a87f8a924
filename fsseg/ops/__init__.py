"""Operations and layers that several methods share."""
