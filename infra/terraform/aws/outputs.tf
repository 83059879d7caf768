# Settings of the service that follow from what was made; the rest is in infra/kubernetes/settings/settings.yaml.

data "aws_region" "here" {}

output "settings" {
  description = "LOOPMASTER_ variables that are no secrets."
  value = {
    LOOPMASTER_PUBLIC_URL             = var.origin
    LOOPMASTER_FILES_URL              = "https://s3.${data.aws_region.here.region}.amazonaws.com"
    LOOPMASTER_STORAGE__ENDPOINT      = "https://s3.${data.aws_region.here.region}.amazonaws.com"
    LOOPMASTER_STORAGE__REGION        = data.aws_region.here.region
    LOOPMASTER_STORAGE__BUCKET        = aws_s3_bucket.files.id
    LOOPMASTER_RETENTION__BACKUP_DAYS = tostring(var.backup_days)
  }
}

output "secrets" {
  description = "ARNs of the two secrets."
  value       = [aws_secretsmanager_secret.service.arn, aws_secretsmanager_secret.edge.arn]
}
