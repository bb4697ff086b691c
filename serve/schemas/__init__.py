"""What the API takes and gives, as the OpenAPI document shows it.

These models describe; they do not validate. Bodies are read once, by `engine.intake`, which says more about a
bad row than a schema could, and answers are written as they are. That both keep to what is written here is
checked by tests that send every example and fuzz every operation.
"""
