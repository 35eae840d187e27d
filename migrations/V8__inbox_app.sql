-- Whose request it was: its outcome is shown to nobody else. A request's id is no secret, since it is
-- derived from the app's name and the id that the app gave it.
ALTER TABLE inbox ADD COLUMN app text;
