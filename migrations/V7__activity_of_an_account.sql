-- What concerns the whole account, as a mandate does, is about no member in particular.
ALTER TABLE activity
    ALTER COLUMN member DROP NOT NULL,
    ADD CONSTRAINT activity_member_named CHECK (member <> '');
