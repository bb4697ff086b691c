"""Agents that decide beside the policy: the room for the override agent, its memory and its evidence."""
