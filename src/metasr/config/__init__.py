"""The only room that sees a DictConfig: schema, composition, objects from configs."""
