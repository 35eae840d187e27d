-- The Activity report in full, its chain, and what keeps both append-only.

ALTER TABLE activity
    ADD COLUMN IF NOT EXISTS challenge uuid,
    ADD COLUMN ip text CHECK (length(ip) <= 45),
    ADD COLUMN user_agent text CHECK (length(user_agent) <= 512);

-- What the chain has not taken up yet: a row each, written with the row of the report. Rows become
-- visible in another order than that of `seq`, so a watermark would pass some by.
CREATE TABLE activity_unchained (
    seq  bigint PRIMARY KEY
);
INSERT INTO activity_unchained SELECT seq FROM activity;

-- Each row of an account's report hashes the one before it: docs/activity.md says over what.
-- `position` counts from 1 in each account.
CREATE TABLE activity_chain (
    account   text NOT NULL,
    position  bigint NOT NULL,
    seq       bigint NOT NULL UNIQUE,
    hash      bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (account, position)
);

-- Accounts whose chain has grown since their last checkpoint.
CREATE TABLE activity_unattested (
    account  text PRIMARY KEY
);

-- Signed: the chain of this account had this hash at this position. `line` is what the operator's
-- file has, too.
CREATE TABLE activity_checkpoint (
    account   text NOT NULL,
    position  bigint NOT NULL,
    line      text NOT NULL,
    PRIMARY KEY (account, position)
);

-- Append-only three times: a trigger for rows, one for TRUNCATE, which no row trigger sees, and no
-- privilege for the owner, who would have to grant it anew. Superusers pass the third; the chain is
-- for whoever passes all of them.
DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['activity_chain', 'activity_checkpoint'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I '
            'FOR EACH ROW EXECUTE FUNCTION refuse_change()', kept || '_append_only', kept);
    END LOOP;
    FOREACH kept IN ARRAY ARRAY['trail', 'activity', 'activity_chain', 'activity_checkpoint'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I '
            'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', kept || '_no_truncate', kept);
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM PUBLIC, CURRENT_USER', kept);
        EXECUTE format('ALTER TABLE %I SET (autovacuum_analyze_threshold = 1000, '
            'autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = 10000)', kept);
    END LOOP;
END $$;
