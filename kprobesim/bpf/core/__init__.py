"""CO-RE: the fields, types and enum values that code asks of whatever kernel it is loaded into."""
