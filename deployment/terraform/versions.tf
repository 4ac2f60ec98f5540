terraform {
  required_version = ">= 1.9" # the first whose validations may look at two variables

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}
