locals {
  emulated = var.endpoint != "" # LocalStack, moto and the like: one address for all services, no accounts, plain HTTP
}

provider "aws" {
  region     = var.region
  access_key = local.emulated ? "test" : null
  secret_key = local.emulated ? "test" : null

  s3_use_path_style           = local.emulated
  skip_credentials_validation = local.emulated
  skip_metadata_api_check     = local.emulated
  skip_region_validation      = local.emulated
  skip_requesting_account_id  = local.emulated

  default_tags {
    tags = var.tags
  }

  dynamic "endpoints" {
    for_each = local.emulated ? [var.endpoint] : []
    content {
      iam = endpoints.value
      kms = endpoints.value
      s3  = endpoints.value
      sns = endpoints.value
      sqs = endpoints.value
      sts = endpoints.value
    }
  }
}
