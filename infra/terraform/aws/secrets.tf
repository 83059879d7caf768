# Two secrets, each a JSON object of variables: what apis and workers read, and what the edge reads. An external-secrets operator makes the
# Kubernetes secrets `loopmaster` and `loopmaster-edge` of them, key by key.

resource "random_id" "secret" {
  byte_length = 32
}

resource "random_id" "edge_key" {
  byte_length = 32
}

resource "random_id" "cookie_key" {
  byte_length = 32
}

resource "aws_secretsmanager_secret" "service" {
  name                    = "${var.name}/service"
  recovery_window_in_days = 30
}

resource "aws_secretsmanager_secret_version" "service" {
  secret_id = aws_secretsmanager_secret.service.id
  secret_string = jsonencode({
    LOOPMASTER_SECRET              = random_id.secret.hex
    LOOPMASTER_DATABASE_URL        = "postgres://loopmaster:${random_password.database.result}@${aws_db_instance.database.endpoint}/loopmaster?sslmode=require"
    LOOPMASTER_STORAGE__ACCESS_KEY = aws_iam_access_key.service.id
    LOOPMASTER_STORAGE__SECRET_KEY = aws_iam_access_key.service.secret
    LOOPMASTER_EDGE__KEYS__A       = random_id.edge_key.hex
    LOOPMASTER_MAIL__SMTP          = var.mail_smtp
  })
}

resource "aws_secretsmanager_secret" "edge" {
  name                    = "${var.name}/edge"
  recovery_window_in_days = 30
}

resource "aws_secretsmanager_secret_version" "edge" {
  secret_id = aws_secretsmanager_secret.edge.id
  secret_string = jsonencode({
    SPIN_VARIABLE_EDGE_KEY    = random_id.edge_key.hex
    SPIN_VARIABLE_COOKIE_KEYS = random_id.cookie_key.hex
  })
}
