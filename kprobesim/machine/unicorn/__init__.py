"""The only room that touches Unicorn: the engine, its hooks, and its C structs measured."""
