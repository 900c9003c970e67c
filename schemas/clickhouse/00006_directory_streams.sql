-- A directory change is known by its topic's id and its offset: the offsets of
-- a recreated topic begin again. Rows from before this column are read once
-- more from the log and then stand under their topic, too, which changes no
-- answer: a history that says the same twice says it once.

-- +goose Up
ALTER TABLE directory_workspaces ADD COLUMN IF NOT EXISTS source_stream UUID;
ALTER TABLE directory_agents ADD COLUMN IF NOT EXISTS source_stream UUID;
ALTER TABLE directory_members ADD COLUMN IF NOT EXISTS source_stream UUID;
