// Jenkinsfile for the Kubernetes plugin; the credential "registry" is a file as `skopeo login` writes it.
pipeline {
  agent {
    kubernetes {
      defaultContainer 'image'
      yaml '''
        apiVersion: v1
        kind: Pod
        spec:
          containers:
            - name: image
              image: registry.example.com/rootless-scratch:0.2.0
              command: [sleep, infinity]
              securityContext:
                allowPrivilegeEscalation: false
                capabilities: {drop: [ALL]}
                runAsNonRoot: true
                runAsUser: 1000
                seccompProfile: {type: RuntimeDefault}
      '''
    }
  }
  stages {
    stage('image') {
      steps {
        withCredentials([file(credentialsId: 'registry', variable: 'REGISTRY_AUTH_FILE')]) {
          sh 'rootless-scratch build ./hello -o "docker://registry.example.com/team/hello:$BUILD_NUMBER"'
        }
      }
    }
  }
}
