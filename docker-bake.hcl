# Both images for several platforms, with what a registry keeps beside them.
#
#   docker buildx bake                  for this machine, into its engine
#   docker buildx bake release --push   for amd64 and arm64, with SBOM and provenance; takes a builder that can
#                                       (docker buildx create --use)
#
# Variables come from the environment. `eval "$(scripts/stack prepare | sed 's/^/export /')"` sets them as `make build` does.

variable "PYTHON_IMAGE" { default = "python:3.13-slim-trixie" }
variable "PYTHON_BUILD_IMAGE" { default = "python:3.13-trixie" }
variable "NGINX_IMAGE" { default = "nginx:stable" }
variable "PYTHON_IMAGE_DIGEST" { default = "" }
variable "NGINX_IMAGE_DIGEST" { default = "" }
variable "PRONGHORN_IMAGE" { default = "pronghorn:latest" }
variable "PRONGHORN_NGINX_IMAGE" { default = "pronghorn-nginx:latest" }
variable "APP_SOURCE" { default = "./examples/raw" }
variable "BUILD_CA_BUNDLE" { default = "/dev/null" }
variable "BUILD_PIP_CONF" { default = "/dev/null" }
variable "IMAGE_VERSION" { default = "" }
variable "IMAGE_REVISION" { default = "" }
variable "IMAGE_CREATED" { default = "" }
variable "IMAGE_SOURCE" { default = "" }
variable "SOURCE_DATE_EPOCH" { default = "" }

group "default" {
  targets = ["app", "nginx"]
}

group "release" {
  targets = ["app-release", "nginx-release"]
}

target "labels" {
  args = {
    IMAGE_VERSION     = IMAGE_VERSION
    IMAGE_REVISION    = IMAGE_REVISION
    IMAGE_CREATED     = IMAGE_CREATED
    IMAGE_SOURCE      = IMAGE_SOURCE
    SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH
  }
}

target "app" {
  inherits = ["labels"]
  contexts = { app = APP_SOURCE }
  args = {
    PYTHON_IMAGE        = PYTHON_IMAGE
    PYTHON_BUILD_IMAGE  = PYTHON_BUILD_IMAGE
    PYTHON_IMAGE_DIGEST = PYTHON_IMAGE_DIGEST
  }
  secret = ["id=ca_bundle,src=${BUILD_CA_BUNDLE}", "id=pip_conf,src=${BUILD_PIP_CONF}"]
  tags   = [PRONGHORN_IMAGE]
}

target "nginx" {
  inherits = ["labels"]
  context  = "nginx"
  args = {
    NGINX_IMAGE        = NGINX_IMAGE
    NGINX_IMAGE_DIGEST = NGINX_IMAGE_DIGEST
  }
  tags = [PRONGHORN_NGINX_IMAGE]
}

# The times inside the layers are set to SOURCE_DATE_EPOCH: two builds of one commit have one digest.
target "release" {
  platforms = ["linux/amd64", "linux/arm64"]
  attest    = ["type=sbom", "type=provenance,mode=max"]
  output    = ["type=image,rewrite-timestamp=true"]
}

target "app-release" {
  inherits = ["app", "release"]
}

target "nginx-release" {
  inherits = ["nginx", "release"]
}
