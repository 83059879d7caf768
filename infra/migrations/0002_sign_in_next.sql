-- Where a visitor was on the way to when the sign-in with a provider began.
ALTER TABLE oidc_logins ADD COLUMN next TEXT NOT NULL DEFAULT '';
