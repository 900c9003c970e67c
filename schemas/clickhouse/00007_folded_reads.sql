-- Questions ask for what all partitions used together; the rollups keep them
-- apart, so that each can be repaired by itself. A projection keeps the sums
-- within each part, so that a question reads a quarter of the rows. A merge
-- adds up rows, so it makes its projection anew; parts that are there get
-- theirs in the background. The engine chooses it where it answers the
-- question, and answers from the rows of a part that has none yet.

-- +goose Up
ALTER TABLE usage_hour MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE usage_hour ADD PROJECTION IF NOT EXISTS folded
    (SELECT workspace, time, agent, sum(credits), sum(messages), sum(events) GROUP BY workspace, time, agent);
ALTER TABLE usage_hour MATERIALIZE PROJECTION folded;

ALTER TABLE usage_day MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE usage_day ADD PROJECTION IF NOT EXISTS folded
    (SELECT workspace, time, agent, sum(credits), sum(messages), sum(events) GROUP BY workspace, time, agent);
ALTER TABLE usage_day MATERIALIZE PROJECTION folded;

ALTER TABLE usage_workspace_hour MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE usage_workspace_hour ADD PROJECTION IF NOT EXISTS folded
    (SELECT workspace, time, sum(credits), sum(messages), sum(events) GROUP BY workspace, time);
ALTER TABLE usage_workspace_hour MATERIALIZE PROJECTION folded;

ALTER TABLE usage_playground MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';
ALTER TABLE usage_playground ADD PROJECTION IF NOT EXISTS folded
    (SELECT workspace, sum(messages), sum(events) GROUP BY workspace);
ALTER TABLE usage_playground MATERIALIZE PROJECTION folded;
