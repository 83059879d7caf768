# PostgreSQL: encrypted, in two zones, reached by apis and workers alone, backed up every day with its log in between.

resource "aws_db_subnet_group" "database" {
  name       = var.name
  subnet_ids = var.database_subnets
}

resource "aws_security_group" "database" {
  name        = "${var.name}-database"
  description = "PostgreSQL for apis and workers"
  vpc_id      = var.vpc
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  referenced_security_group_id = var.clients
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "random_password" "database" {
  length  = 32
  special = false
}

resource "aws_db_parameter_group" "database" {
  name   = var.name
  family = "postgres17"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
}

resource "aws_db_instance" "database" {
  identifier                   = var.name
  engine                       = "postgres"
  engine_version               = "17"
  instance_class               = var.database_class
  allocated_storage            = 50
  max_allocated_storage        = 1000
  storage_type                 = "gp3"
  storage_encrypted            = true
  multi_az                     = true
  db_name                      = "loopmaster"
  username                     = "loopmaster"
  password                     = random_password.database.result
  db_subnet_group_name         = aws_db_subnet_group.database.name
  vpc_security_group_ids       = [aws_security_group.database.id]
  parameter_group_name         = aws_db_parameter_group.database.name
  publicly_accessible          = false
  backup_retention_period      = var.backup_days
  copy_tags_to_snapshot        = true
  deletion_protection          = true
  skip_final_snapshot          = false
  final_snapshot_identifier    = "${var.name}-last"
  auto_minor_version_upgrade   = true
  performance_insights_enabled = true

  lifecycle {
    prevent_destroy = true
  }
}
