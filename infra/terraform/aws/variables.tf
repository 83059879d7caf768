variable "name" {
  description = "Begins the names of everything that is made here."
  type        = string
  default     = "loopmaster"
}

variable "bucket" {
  description = "Name of the bucket; has to be unique in the world."
  type        = string
}

variable "origin" {
  description = "Address of the pages, as browsers write it in Origin: https://music.example"
  type        = string

  validation {
    condition     = can(regex("^https://[^/]+$", var.origin))
    error_message = "Use an address like https://music.example, without a path."
  }
}

variable "vpc" {
  description = "The VPC that apis and workers run in."
  type        = string
}

variable "database_subnets" {
  description = "Private subnets for the database, in two zones or more."
  type        = list(string)
}

variable "clients" {
  description = "Security group of apis and workers: they alone reach the database."
  type        = string
}

variable "database_class" {
  description = "Size of the database."
  type        = string
  default     = "db.m7g.large"
}

variable "backup_days" {
  description = "How long the database's backups are kept. Set retention.backup_days of the service to it: the privacy page says it."
  type        = number
  default     = 30
}

variable "mail_smtp" {
  description = "smtps://user:password@host of the mail server."
  type        = string
  sensitive   = true
}
